output "missed_queue_name" {
  value = aws_sqs_queue.missed.name
}
