# Set the clock to the fraction of a second, and reseed the random numbers: renew.pl
# TIME UPTIME SEED. The time was that when the uptime was that.
#
# No module is used, because loading one takes a tenth of a second without KVM. Numbers of calls are
# those of x86-64 (asm/unistd_64.h, linux/random.h).
use strict;
use warnings;
my ($time, $uptime, $seed) = @ARGV;

open(my $clock, '<', '/proc/uptime') or die "/proc/uptime: $!\n";
my ($now) = split(' ', readline($clock));
$time += $now - $uptime;
my ($clock_settime, $CLOCK_REALTIME) = (227, 0);
my $whole = int($time);
my $value = pack('qq', $whole, int(($time - $whole) * 1e9));
syscall($clock_settime, $CLOCK_REALTIME, $value) == 0 or die "clock: $!\n";

# Clones of a template would draw the same numbers.
my $RNDRESEEDCRNG = 0x5207;
open(my $random, '>', '/dev/urandom') or die "/dev/urandom: $!\n";
syswrite($random, pack('H*', $seed));
ioctl($random, $RNDRESEEDCRNG, 0) or die "random numbers: $!\n";
