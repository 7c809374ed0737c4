package wire

//go:generate protoc --plugin=protoc-gen-go=../../hack/protoc-gen-go --plugin=protoc-gen-go-grpc=../../hack/protoc-gen-go-grpc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative session.proto
