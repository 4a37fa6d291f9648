"""Contact updates to a RabbitMQ queue, for the suite that keeps contacts."""
