# A small SSH server with AsyncSSH: SFTP and SCP below a folder. Run by the lab.
import asyncio
import json
import sys
import warnings

warnings.filterwarnings("ignore")
import asyncssh  # noqa: E402

conf = json.load(open(sys.argv[1]))


class Server(asyncssh.SSHServer):
    def begin_auth(self, username):
        return True

    def password_auth_supported(self):
        return bool(conf["password"])

    def validate_password(self, username, password):
        return password == conf["password"]


async def main():
    lists = {k: conf[k] for k in ("kex_algs", "encryption_algs", "mac_algs") if conf[k]}
    server = await asyncssh.create_server(
        Server, "127.0.0.1", conf["port"], server_host_keys=[conf["host_key"]],
        authorized_client_keys=conf["authorized_keys"] or None,
        sftp_factory=True if conf["sftp"] else None, allow_scp=True, **lists)
    print("listening", file=sys.stderr, flush=True)
    await server.wait_closed()


try:
    asyncio.run(main())
except OSError as e:
    sys.exit(str(e))
