"""Questions and answers about what a slice shows: perspectives I and II from templates, III and IV from knowledge."""
