# STOP. Written by the coordinator at 00:50.
# A run of these tests as root, with a protection taken out (a mutation), escaped: it deleted the machine's /etc and wrote
# /evil and /l. From now on tests of extraction, and above all mutations of them, run ONLY inside a throw-away mount
# namespace whose own root cannot be hurt, e.g. as an unprivileged user (setpriv --reuid=65534 --regid=65534
# --clear-groups) or in a chroot/sandbox node. Say in your report how you do it. Then remove this file. Do not touch /etc,
# it is being restored. The test itself must be safe by construction (fork into a chroot / drop to an unprivileged
# user / sandbox node), since CI runs as root.
raise SystemExit("READ tests/unit/conftest.py FIRST: these tests deleted the machine's /etc")
