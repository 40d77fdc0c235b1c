"""Files from outside are opened in a child process that can reach nothing: no network, no writing, little memory."""
