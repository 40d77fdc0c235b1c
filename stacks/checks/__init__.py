"""What is looked at before and after a deployment: gates, signatures, health, alerts."""
