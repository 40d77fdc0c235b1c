"""Opens files from outside in a confined child process: no network, no writing, limited memory."""
