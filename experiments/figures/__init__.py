"""Published figures beside what jsnn makes of them, a module for each kind."""
