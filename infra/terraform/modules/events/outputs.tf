output "queue_arn" {
  value = aws_sqs_queue.bronze.arn
}

output "queue_url" {
  value = aws_sqs_queue.bronze.id
}

output "queue_name" {
  value = aws_sqs_queue.bronze.name
}

output "dead_queue_name" {
  value = aws_sqs_queue.dead.name
}
