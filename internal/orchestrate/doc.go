// Package orchestrate lists the loops that turn what users asked for into pods;
// each kind has a folder of its own below it.
//
// They are not for addresses (allocate), for nodes (schedule), or for a pod's
// status (dispatch): each field has one writer. Loops do not call each other;
// they meet in the tables (docs/loops.md tells who reads and writes which).
//
// How to debug: the scripts in each folder's testdata show, step by step, what a
// loop writes; log lines carry the loop's name.
package orchestrate
