package mesos

//go:generate protoc -I.. --plugin=protoc-gen-go=../../hack/protoc-gen-go --go_out=.. --go_opt=paths=source_relative mesos/v1/mesos.proto mesos/v1/scheduler/scheduler.proto mesos/v1/executor/executor.proto mesos/v1/master/master.proto mesos/v1/agent/agent.proto mesos/v1/quota/quota.proto mesos/v1/maintenance/maintenance.proto mesos/v1/allocator/allocator.proto
