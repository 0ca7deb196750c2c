"""Starts mailctl for each connection to a socket, as systemd does (systemd.socket(5), Accept=yes)."""

import os
import socket
import subprocess
import sys
import threading

mailctl, root, path, verb = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.path.join(root, path))
listener.listen(8)


def answer(stream):
    # Nobody answers questions to DNS at that port.
    environment = {"MAILCTL_RESOLVER": "127.0.0.1:9"}
    command = [mailctl, "--root", root, verb]
    subprocess.run(command, stdin=stream.fileno(), stdout=stream.fileno(), env=environment)
    stream.close()


while True:
    threading.Thread(target=answer, args=(listener.accept()[0],)).start()
