# Make a clone of a template another machine: names, clock, random numbers, MAC address, SSH host key.
# usage: renew KEY. It prints `ready` and reads one line: NAME ID TIME SEED MAC TYPE PUBLIC PRIVATE
# [UPTIME]. The time is that of now, or was that when the uptime was that; seed and MAC address are
# hexadecimal, the keys base64.
#
# A template has this program waiting for its input, so that a clone need not start it. No module is
# used, because loading one takes a tenth of a second without KVM. Numbers of calls are those of
# x86-64 (asm/unistd_64.h, linux/random.h, linux/sockios.h).
use strict;
use warnings;
my ($key) = @ARGV;
syswrite(STDOUT, "ready\n");
my @words = split(" ", readline(STDIN));
my ($name, $id, $time, $seed, $mac, $type, $public, $private, $uptime) = @words;
$private = "-----BEGIN OPENSSH PRIVATE KEY-----\n$private\n-----END OPENSSH PRIVATE KEY-----\n";

sub put {
	my ($path, $content) = @_;
	open(my $file, '>', $path) or die "$path: $!\n";
	syswrite($file, $content);
	close($file) or die "$path: $!\n";
}

if (defined $uptime) {
	open(my $clock, '<', '/proc/uptime') or die "/proc/uptime: $!\n";
	my ($now) = split(' ', readline($clock));
	$time += $now - $uptime;
}
my ($clock_settime, $CLOCK_REALTIME) = (227, 0);
my $whole = int($time);
my $value = pack('qq', $whole, int(($time - $whole) * 1e9));
syscall($clock_settime, $CLOCK_REALTIME, $value) == 0 or die "clock: $!\n";

# Clones of a template would draw the same numbers.
my $RNDRESEEDCRNG = 0x5207;
open(my $random, '>', '/dev/urandom') or die "/dev/urandom: $!\n";
syswrite($random, pack('H*', $seed));
ioctl($random, $RNDRESEEDCRNG, 0) or die "random numbers: $!\n";

# In a template the key is a named pipe, and sshd waits there for its key. It starts while the rest
# is done here.
my $waiting;
if (-p $key) {
	open($waiting, '>', $key) or die "$key: $!\n";
}
umask 077;
put("$key.new", $private);
rename("$key.new", $key) or die "$key: $!\n";
if ($waiting) {
	print $waiting $private;
	close($waiting) or die "$key: $!\n";
}
umask 022;
put("$key.pub", "$type $public\n");

my ($AF_INET, $SOCK_DGRAM, $ARPHRD_ETHER, $SIOCSIFHWADDR) = (2, 2, 1, 0x8924);
socket(my $network, $AF_INET, $SOCK_DGRAM, 0) or die "socket: $!\n";
my $request = pack('a16 S a6 x16', 'eth0', $ARPHRD_ETHER, pack('H*', $mac));
ioctl($network, $SIOCSIFHWADDR, $request) or die "MAC address: $!\n";
# In a template IPv6 is off. The kernel makes the link's address of the MAC address when it is on.
my $ipv6 = '/proc/sys/net/ipv6/conf/eth0/disable_ipv6';
put($ipv6, "0\n") if -e $ipv6;

put('/proc/sys/kernel/hostname', "$name\n");
put('/etc/hostname', "$name\n");
put('/etc/hosts', "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 $name\n");
put('/etc/machine-id', "$id\n");

# sshd writes this file when it listens.
if ($waiting) {
	select(undef, undef, undef, 0.005) until -s '/run/sshd.pid';
}
