curl -X POST \
"https://mooring.example.com/apiops/projects/MyProject/connections/my-kafka-connection/" \
-H "Authorization: Bearer YOUR_TOKEN" \
-H "Content-Type: application/json" \
-d '{
"type": "kafka",
"name": "my-kafka-connection",
"description": "Kafka connection for event streaming",
"deployToWorker": true,
"enabled": true,
"topicName": "events",
"bootstrapServers": "localhost:9092",
"keyStoreName": "my-keystore",
"trustStoreName": "my-truststore"
}'
