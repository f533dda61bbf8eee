"""What a leaderboard is made from: files beside records, and published numbers. Reads only."""
