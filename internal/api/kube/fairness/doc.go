// Package fairness keeps one client's flood from starving others: the door works
// on so many requests at a time, and users whose requests wait take turns.
//
// It is not Kubernetes' API Priority and Fairness: flow schemas and priority levels
// are kept and not acted on. Members of system:masters, which the manager's own
// parts are, do not wait; what may last (watches, streams) is not counted.
//
// Concurrency: one lock around a few pointers; a request that need not wait takes
// it twice.
//
// How to debug: a request that is refused is told 429 and to come again in a
// second.
package fairness
