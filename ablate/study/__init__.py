"""The driver: the stages of a study between the rooms that know how and the commands that are asked."""
