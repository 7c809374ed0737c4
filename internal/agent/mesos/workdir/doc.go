// Package workdir keeps the sandboxes of a node's Mesos tasks, in the folders that Mesos'
// agents use (object/sandbox.Place), and in each what its containers write to their outputs.
//
// A sandbox outlives its pod: it is removed a week after, sooner the less of the disk is
// free, as Mesos' agents do.
//
// What lies in a sandbox is its task's, whose word is not trusted: files are opened through
// an os.Root of it, links to elsewhere and what is no file are refused.
package workdir
