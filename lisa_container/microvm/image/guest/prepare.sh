#!/bin/sh
# Finish the root file system of an image; it runs in it. $1: the user.
set -eu

id "$1" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$1"
# No password, but not locked: without PAM, sshd refuses keys of a locked account.
usermod --password '*' "$1"
# Commands of root start sooner with a small shell.
usermod --password '*' --shell /bin/sh root
echo "$1 ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/lisa-vm
chmod 440 /etc/sudoers.d/lisa-vm
for home in /root "/home/$1"; do
	mkdir -p -m 700 "$home/.ssh"
	cp /usr/lib/lisa-vm/authorized_keys "$home/.ssh/authorized_keys"
	chmod 600 "$home/.ssh/authorized_keys"
done
chown -R "$1:" "/home/$1/.ssh"

echo "/dev/vda / ext4 rw 0 1" >/etc/fstab
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id /etc/resolv.conf
: >/etc/machine-id
echo "nameserver 10.0.2.3" >/etc/resolv.conf
# sshd takes the first value.
cat /usr/lib/lisa-vm/sshd_config /etc/ssh/sshd_config >/etc/ssh/sshd_config.new
mv /etc/ssh/sshd_config.new /etc/ssh/sshd_config
# Since version 9.8, sshd blocks an address for a while after a failed login, which some tests cause.
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /tmp/key
if /usr/sbin/sshd -t -h /tmp/key -o PerSourcePenalties=no 2>/dev/null; then
	sed -i '1i PerSourcePenalties no' /etc/ssh/sshd_config
fi
rm /tmp/key /tmp/key.pub

systemctl --quiet enable lisa-vm-agent lisa-vm-network
# Work that a throw-away machine does without.
systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
	e2scrub_all.timer e2scrub_reap.service fstrim.timer logrotate.timer getty@tty1.service \
	serial-getty@ttyS0.service systemd-journal-flush.service systemd-pstore.service \
	systemd-random-seed.service systemd-update-utmp.service
# Each login would run these.
rm -f /etc/update-motd.d/*
# The first boot has nothing to update.
touch -r /usr /etc/.updated /var/.updated
# mmdebstrap does this after the disk was made.
apt-get clean
rm -rf /var/lib/apt/lists/*
