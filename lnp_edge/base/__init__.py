"""What every part of the project uses: errors, files, the console, installation hints, compilation."""
