module allclear/bench/kmip

go 1.26.0

require (
	allclear v0.0.0
	github.com/ovh/kmip-go v0.8.1
)

replace allclear => ../..
