"""What comes in: from scanners and archives, into a spool that loses nothing."""
