"""A cloud on one machine, for tests and trials; it uses only the loopback.

AWS's interfaces (S3, KMS, IAM, STS, SNS, CloudWatch, ECR) come from moto behind HTTPS; Kubernetes is the real API
server, controllers and scheduler, with simulated nodes and pods (kwok).
"""
