package wire

// KMIPServing tells where the key server of "allclear kmip serve" is reached.
type KMIPServing struct {
	Address     string `json:"address"`               // host:port
	Credentials string `json:"credentials,omitempty"` // folder with ca.pem, client.pem and client.key
}
