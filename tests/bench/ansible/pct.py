"""A connection by `pct exec`, as community.general has it for hosts that are reached by SSH; here the host is this one."""

import subprocess

from ansible.errors import AnsibleConnectionFailure, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
    name: pct
    short_description: Run tasks in a Proxmox container of this host
    description: Every command is a process of `pct exec`.
    author: Phoenix
    options:
      remote_addr:
        description: The CTID.
        vars: [{name: inventory_hostname}, {name: ansible_host}]
"""


class Connection(ConnectionBase):
    transport = "pct"
    has_pipelining = True

    def _connect(self):
        return self

    def _inside(self, command, stdin):
        argv = ["/usr/sbin/pct", "exec", str(self.get_option("remote_addr")), "--", "/bin/sh", "-c", command]
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def exec_command(self, cmd, in_data=None, sudoable=True):
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._inside(cmd, in_data or b"")

    def put_file(self, in_path, out_path):
        super().put_file(in_path, out_path)
        try:
            with open(in_path, "rb") as file:
                content = file.read()
        except OSError as error:
            raise AnsibleFileNotFound(f"cannot read {in_path}") from error
        code, _, stderr = self._inside(f"cat >{self._shell.quote(out_path)}", content)
        if code != 0:
            raise AnsibleConnectionFailure(f"cannot write {out_path}: {stderr.decode()}")

    def fetch_file(self, in_path, out_path):
        super().fetch_file(in_path, out_path)
        code, stdout, stderr = self._inside(f"cat {self._shell.quote(in_path)}", b"")
        if code != 0:
            raise AnsibleConnectionFailure(f"cannot read {in_path}: {stderr.decode()}")
        with open(out_path, "wb") as file:
            file.write(stdout)

    def close(self):
        self._connected = False
