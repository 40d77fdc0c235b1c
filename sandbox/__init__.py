"""A cloud on one machine, for tests and for trying things out: nothing in it leaves the loopback.

AWS's interfaces (S3, KMS, IAM, STS, SNS, CloudWatch, ECR) come from moto behind HTTPS; Kubernetes is the real API
server, controllers and scheduler, with nodes and pods that only say that they run (kwok).
"""
