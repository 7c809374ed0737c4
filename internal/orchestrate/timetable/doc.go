// Package timetable says which time of a schedule a loop has to act on: one of those that passed
// while nobody looked, the latest.
//
// It is not for how schedules are written (object.ParseSchedule), nor for what happens at
// a time (cronjob, swarm). It is pure, and keeps nothing.
package timetable
