#!/usr/bin/env python3
"""Stands between an agent and the real trainer and keeps what the agent says, byte for byte: the file named by TEE_FILE.
Started like the trainer (`tee_trainer.py train`, a socket as descriptor 3); TEE_PROGRAM is the trainer's program."""
import os, socket, subprocess, sys, threading

agent = socket.socket(fileno=os.dup(3))
ours, trainers = socket.socketpair()
os.dup2(trainers.fileno(), 3, inheritable=True)
child = subprocess.Popen([os.environ["TEE_PROGRAM"], *sys.argv[1:]], pass_fds=(3,))
trainers.close()
os.close(3)

def down():
    with open(os.environ["TEE_FILE"], "ab", buffering=0) as kept:
        while data := agent.recv(1 << 16):
            kept.write(data)
            ours.sendall(data)
    ours.shutdown(socket.SHUT_WR)

threading.Thread(target=down, daemon=True).start()
while data := ours.recv(1 << 16):
    agent.sendall(data)
sys.exit(child.wait())
