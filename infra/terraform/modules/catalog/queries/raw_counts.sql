-- Records of a topic in raw, by partition: the same numbers as the audit's
SELECT epoch, partition, count(*) AS records, min("offset") AS first_offset, max("offset") AS last_offset
FROM raw
WHERE topic = 'market.ticks.v1'
GROUP BY epoch, partition
ORDER BY epoch, partition
