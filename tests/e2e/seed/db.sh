curl -X POST \
"https://mooring.example.com/apiops/projects/MyProject/connections/my-db-connection/" \
-H "Authorization: Bearer YOUR_TOKEN" \
-H "Content-Type: application/json" \
-d '{
"type": "database",
"name": "my-db-connection",
"description": "PostgreSQL database connection",
"deployToWorker": true,
"enabled": true,
"host": "localhost",
"port": 5432,
"databaseName": "mydb",
"username": "dbuser",
"password": "dbpassword",
"driverClassName": "org.postgresql.Driver",
"jdbcUrl": "jdbc:postgresql://localhost:5432/mydb"
}'
