// Package chain attaches pods by CNI plugins that the user chose, in place of the
// dataplane's own links: the plugins of the first network configuration of a directory, by
// name, as kubelets and containerd choose it.
//
// It is not for our own plugin (package plugin), and it knows of no rules: what a pod may
// say to whom is the dataplane's all the same, by the addresses that the plugins gave.
//
//	<Dir>/attachments/SANDBOX.json   the configuration, arguments and directories of an ADD, written before it
//	<Dir>/results                    what plugins answered (libcni's)
//
// A DEL goes by what is written there, so it is the plugins' that did the ADD whatever the
// directory holds by now, also after a restart of the agent, after one that ended half way
// through an ADD, and after the directory is not used any more.
//
// A Chain may be used by any number of goroutines; calls about one sandbox follow each
// other. To debug: run what is in an attachment's file by cnitool.
package chain
