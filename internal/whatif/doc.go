// Package whatif answers what would happen, by letting it happen where nobody sees it: the control
// loops themselves run over a fork of the store, among them a loop that plays the nodes. So the
// answer is by construction the one that the loops would give.
//
// What it plays: pods that get a node are ready at once, pods that are deleted are gone at once,
// and time goes on by itself, for a minute at most. What it does not know: webhooks are not asked
// about pods that loops make, jobs do not end, images and probes do not fail.
//
// It writes nothing. One question at a time is answered: a fork of a large cluster takes as much work
// as a full pass of its loops.
//
// How to debug: `trireme plan -f FILE -o yaml`.
package whatif
