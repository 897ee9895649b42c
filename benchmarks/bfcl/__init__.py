"""The Berkeley Function Calling Leaderboard: its cases, and its rules of what a right call is."""
