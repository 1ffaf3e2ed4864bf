"""Frozen virtual machines: memory and disk of a VM at the moment when its case failed.

record    what is known of a frozen VM, and whether it can go on
save      writing one
thaw      throw-away copies of one, which go on from that moment
core      its memory as a file for debuggers
elf       notes in such a file
"""
