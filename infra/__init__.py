"""The Pulumi program: a stack's config becomes components and outputs."""
