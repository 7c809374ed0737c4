// Package review shows pods that control loops made to admission: to webhooks and to
// admission policies, which are asked outside of any transaction.
//
// It is not for the cluster's own rules (policy: loops obey them as they put a pod),
// and not for what comes through a door, which passes admission there. How admission is
// asked is the door's: Admission.
//
// A pod under review (object.UnderReview) is a row of the table of pods that no door
// shows and nobody acts on. The Reviewer takes committed ones, asks, and in one
// transaction either stores what was made of the pod and takes the mark away, or
// deletes the row and notes the refusal for the pod's owner, whose loop learns of it at
// its next attempt. The marks are rows, so that a new leader goes on; admission may see
// a pod twice.
//
// Pods of one owner are shown a few at a time: one at first, twice as many after each
// quick answer, one again after a slow or a bad one. So a webhook that hangs holds one
// place of each owner whose pods it sees, and there are placesMax of them.
//
// How to debug: the table refusals; events FailedCreate of owners.
package review
