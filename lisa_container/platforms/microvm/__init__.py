"""LISA platform `type: microvm`: throw-away virtual machines on this machine."""
