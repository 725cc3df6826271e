"""What `comp tune` is made of: the space it searches, how a trial is judged, where a study is kept, what it comes to."""
