"""What is wrong with data, as findings; gathering pictures; decisions and cleaning."""
