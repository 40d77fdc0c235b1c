"""The versioned registry: manifests, states, aliases, audit log, signatures, bundles."""
