"""The HTTP service that answers predictions, in a container or as a supervised process."""
