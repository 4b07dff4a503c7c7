#!/bin/sh
# Stands for a server process: says that it listens where the test itself does, and stays until it is killed.
echo "listening on http://$SERVER_ADDRESS"
exec tail -f /dev/null
