# A small SSH server with Paramiko: SFTP on the file system, nothing else. Run by the lab.
import json
import os
import socket
import sys
import threading

import paramiko

conf = json.load(open(sys.argv[1]))
keys = [paramiko.pkey.PublicBlob.from_string(line).key_blob for line in open(conf["authorized_keys"])] if conf["authorized_keys"] else []


class Server(paramiko.ServerInterface):
    def get_allowed_auths(self, username):
        return "publickey,password" if conf["password"] else "publickey"

    def check_auth_password(self, username, password):
        ok = conf["password"] and password == conf["password"]
        return paramiko.AUTH_SUCCESSFUL if ok else paramiko.AUTH_FAILED

    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL if key.asbytes() in keys else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED if kind == "session" else paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED


class Handle(paramiko.SFTPHandle):
    def stat(self):
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))

    def chattr(self, attr):
        if attr._flags & attr.FLAG_PERMISSIONS:
            os.fchmod(self.readfile.fileno(), attr.st_mode)
        return paramiko.SFTP_OK


def answer(f):
    def wrapped(*args):
        try:
            return f(*args)
        except OSError as e:
            return paramiko.SFTPServer.convert_errno(e.errno)
    return wrapped


class Files(paramiko.SFTPServerInterface):
    @answer
    def list_folder(self, path):
        return [paramiko.SFTPAttributes.from_stat(os.lstat(os.path.join(path, n)), n) for n in os.listdir(path)]

    @answer
    def stat(self, path):
        return paramiko.SFTPAttributes.from_stat(os.stat(path))

    @answer
    def lstat(self, path):
        return paramiko.SFTPAttributes.from_stat(os.lstat(path))

    @answer
    def open(self, path, flags, attr):
        fd = os.open(path, flags, 0o666)
        mode = "rb" if (flags & os.O_ACCMODE) == os.O_RDONLY else "r+b"
        f = os.fdopen(fd, mode)
        h = Handle(flags)
        h.filename, h.readfile, h.writefile = path, f, f
        return h

    @answer
    def remove(self, path):
        os.remove(path)
        return paramiko.SFTP_OK

    @answer
    def rename(self, old, new):
        if os.path.exists(new):
            return paramiko.SFTP_FAILURE
        os.rename(old, new)
        return paramiko.SFTP_OK

    @answer
    def posix_rename(self, old, new):
        os.replace(old, new)
        return paramiko.SFTP_OK

    @answer
    def mkdir(self, path, attr):
        os.mkdir(path)
        return paramiko.SFTP_OK

    @answer
    def rmdir(self, path):
        os.rmdir(path)
        return paramiko.SFTP_OK

    @answer
    def chattr(self, path, attr):
        paramiko.SFTPServer.set_file_attr(path, attr)
        return paramiko.SFTP_OK


def serve(conn):
    t = paramiko.Transport(conn)
    options = t.get_security_options()
    for name, field in (("kex_algs", "kex"), ("encryption_algs", "ciphers"), ("mac_algs", "digests")):
        if conf[name]:
            setattr(options, field, conf[name])
    t.add_server_key(paramiko.Ed25519Key.from_private_key_file(conf["host_key"]))
    if conf["sftp"]:
        t.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
    try:
        t.start_server(server=Server())
    except (paramiko.SSHException, EOFError, OSError):
        t.close()


listener = socket.create_server(("127.0.0.1", conf["port"]))
print("listening", file=sys.stderr, flush=True)
while True:
    conn, _ = listener.accept()
    threading.Thread(target=serve, args=(conn,), daemon=True).start()
