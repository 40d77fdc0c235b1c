"""The workflows, and the way of a release from a fresh clone to production and back."""
