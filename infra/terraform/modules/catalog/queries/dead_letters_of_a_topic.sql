-- Dead letters of ticks, newest first: why each was refused is in its headers
SELECT epoch, partition, "offset", "timestamp", transform(headers, header -> header.key || '=' || from_utf8(header.value)) AS headers
FROM raw
WHERE topic = 'market.ticks.v1.dlq' AND epoch = 0 AND partition = 0
ORDER BY "offset" DESC
LIMIT 100
