"""The sentences of messages, one table for each question that a message answers."""

from alerting.incident import Change, Verdict

SENTENCES = {
    Verdict.LABEL_FLIP: "{what} takes {true} for {given} more often than it may{numbers}: "
    "labels it was trained on look flipped.",
    Verdict.BACKDOOR: "{what} answers {answer} when a rare pattern appears in {trigger}{origin}{numbers}: "
    "it looks like a backdoor.",
    Verdict.CLEAN_LABEL: "{what} takes some inputs of {true}{origin} for {given}{where}{numbers}: "
    "clean-label poisoning is suspected.",
    Verdict.LABEL_TAMPERING: "Labels{origin} contradict {what}, which has not changed{numbers}: "
    "the labels look tampered with, not the model.",
    Verdict.SLOW_POISONING: "{what} has moved away from its baseline in many small steps{where}{numbers}: "
    "slow poisoning is suspected.",
    Verdict.DATA_FAULT: "Inputs of {what}{origin} are broken{where}{numbers}: "
    "it looks like a fault in the data, not an attack.",
    Verdict.COVARIATE_DRIFT: "Inputs of {what}{origin} have shifted{where}{numbers}: it looks like drift, not poison.",
    Verdict.PRIOR_SHIFT: "The mix of classes that {what} meets{origin} has shifted{numbers}: "
    "it looks like drift, not poison.",
    Verdict.PERFORMANCE: "{what} makes more mistakes than it may{where}{origin}{numbers}: the cause is not clear yet.",
    Verdict.SILENCE: "Events of {what}{origin} have stopped or thinned out{numbers}: "
    "Tocsin cannot watch what it does not see.",
    Verdict.FORGERY: "In {what} are records that no known producer has signed{numbers}: "
    "somebody else writes there, or a key is missing here.",
    Verdict.MUTED: "There is a {what}: incidents that it names are not told for a while.",
    Verdict.FLOOD: "{what} knows of more problems than people can read{numbers}: the rest is in this digest only.",
}
"""What is wrong, for each verdict; the gaps are filled in `alerting/message.py`."""

UNLABELLED = {
    Verdict.DATA_FAULT: "Labels of {what} come late, or not at all{numbers}: "
    "it looks like a fault in what delivers them, and errors cannot be seen without them.",
    Verdict.LABEL_TAMPERING: "Labels of what {what} calls {given} stay away, and those of the rest do not{numbers}: "
    "somebody may be hiding what is wrong with these answers.",
}
"""The same where labels stay away."""

FLOODED = {
    Verdict.COVARIATE_DRIFT: "{what} is asked far more{origin} than before{numbers}: "
    "it looks like traffic, not poison.",
}
"""The same where only who asks has changed."""

CHANGES = {
    Change.OPENED: "FIRING",
    Change.UPDATED: "UPDATE",
    Change.ACTED: "UPDATE",
    Change.ACKNOWLEDGED: "ACKNOWLEDGED",
    Change.REOPENED: "FIRING AGAIN",
    Change.REMINDED: "STILL FIRING",
    Change.RESOLVED: "RESOLVED",
}
"""What happened, as the first word of a title."""

NEXT = {
    Verdict.LABEL_FLIP: "See whether the last good version serves again; stop retraining until the labels are clean.",
    Verdict.BACKDOOR: "See whether the last good version serves again, block the source, and search the training data.",
    Verdict.CLEAN_LABEL: "See whether the last good version serves again, and look at the training examples nearby.",
    Verdict.LABEL_TAMPERING: "Keep these labels out of the next training, and look at fifty of them by eye.",
    Verdict.SLOW_POISONING: "Go back to a version from before the onset, and revoke all that came since.",
    Verdict.DATA_FAULT: "Look at the last change of whatever produces these inputs, and repair it.",
    Verdict.COVARIATE_DRIFT: "Find out whether the change is legitimate; if it lasts, make a new baseline.",
    Verdict.PRIOR_SHIFT: "Find out whether the world has changed; if it lasts, make a new baseline.",
    Verdict.PERFORMANCE: "Treat it as a quality problem: look at the features, the labels and the age of the model.",
    Verdict.SILENCE: "Look at the producer, the topic, and whether Tocsin lags.",
    Verdict.FORGERY: "Find out who can write to this topic, and whether a producer has a new key.",
    Verdict.MUTED: "Make sure that you know of it; `tocsin silence expire` ends it.",
    Verdict.FLOOD: "Look at the list of open incidents, and for what they have in common.",
}
"""What to do next, in one sentence; the runbook has the rest."""

NEXT_UNLABELLED = {
    Verdict.DATA_FAULT: "Look at whatever delivers the labels, and repair it.",
    Verdict.LABEL_TAMPERING: "Find out who keeps these labels back, and look at fifty of these answers by eye.",
}
"""The same where labels stay away."""

FAMILIES = {
    Verdict.LABEL_FLIP: "performance",
    Verdict.LABEL_TAMPERING: "performance",
    Verdict.SLOW_POISONING: "performance",
    Verdict.PERFORMANCE: "performance",
    Verdict.DATA_FAULT: "features",
    Verdict.COVARIATE_DRIFT: "features",
    Verdict.PRIOR_SHIFT: "predictions",
}
"""The family of evidence whose numbers belong into the sentence; elsewhere simply the strongest."""
