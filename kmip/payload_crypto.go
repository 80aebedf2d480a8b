package kmip

import "allclear/kmip/ttlv"

// EncryptRequest asks the server to encrypt with a key that it keeps.
type EncryptRequest struct {
	UniqueID       string
	Parameters     *CryptographicParameters
	Data           []byte // needed when it is not done in parts
	IV             []byte
	Correlation    []byte // of the parts after the first
	First, Last    *bool  // Init and Final Indicator
	AdditionalData []byte
}

// EncryptResponse is the ciphertext.
type EncryptResponse struct {
	UniqueID    string
	Data        []byte
	IV          []byte // when the server chose it
	Correlation []byte
	Tag         []byte // of authenticated encryption
}

// DecryptRequest asks the server to decrypt with a key that it keeps.
type DecryptRequest struct {
	UniqueID       string
	Parameters     *CryptographicParameters
	Data           []byte
	IV             []byte
	Correlation    []byte
	First, Last    *bool
	AdditionalData []byte
	Tag            []byte
}

// DecryptResponse is the plaintext.
type DecryptResponse struct {
	UniqueID    string
	Data        []byte
	Correlation []byte
}

// Operation is Encrypt.
func (*EncryptRequest) Operation() Operation { return OperationEncrypt }

// Operation is Encrypt.
func (*EncryptResponse) Operation() Operation { return OperationEncrypt }

// Operation is Decrypt.
func (*DecryptRequest) Operation() Operation { return OperationDecrypt }

// Operation is Decrypt.
func (*DecryptResponse) Operation() Operation { return OperationDecrypt }

func (p *EncryptRequest) encode(e *enc) {
	e.optText(ttlv.TagUniqueIdentifier, p.UniqueID)
	e.parameters(p.Parameters)
	e.optBytes(ttlv.TagData, p.Data)
	e.optBytes(ttlv.TagIVCounterNonce, p.IV)
	e.optBytes(ttlv.TagCorrelationValue, p.Correlation)
	e.optBool(ttlv.TagInitIndicator, p.First)
	e.optBool(ttlv.TagFinalIndicator, p.Last)
	e.optBytes(ttlv.TagAuthenticatedEncryptionAdditionalData, p.AdditionalData)
}

func (p *EncryptRequest) decode(d *dec) {
	*p = EncryptRequest{
		UniqueID: d.optID(ttlv.TagUniqueIdentifier), Parameters: d.parameters(),
		Data: d.optBytes(ttlv.TagData), IV: d.optBytes(ttlv.TagIVCounterNonce),
		Correlation: d.optBytes(ttlv.TagCorrelationValue),
		First:       d.optBool(ttlv.TagInitIndicator), Last: d.optBool(ttlv.TagFinalIndicator),
		AdditionalData: d.optBytes(ttlv.TagAuthenticatedEncryptionAdditionalData),
	}
}

func (p *EncryptResponse) encode(e *enc) {
	e.TextString(ttlv.TagUniqueIdentifier, p.UniqueID)
	e.optBytes(ttlv.TagData, p.Data)
	e.optBytes(ttlv.TagIVCounterNonce, p.IV)
	e.optBytes(ttlv.TagCorrelationValue, p.Correlation)
	e.optBytes(ttlv.TagAuthenticatedEncryptionTag, p.Tag)
}

func (p *EncryptResponse) decode(d *dec) {
	*p = EncryptResponse{
		d.id(ttlv.TagUniqueIdentifier), d.optBytes(ttlv.TagData), d.optBytes(ttlv.TagIVCounterNonce),
		d.optBytes(ttlv.TagCorrelationValue), d.optBytes(ttlv.TagAuthenticatedEncryptionTag),
	}
}

func (p *DecryptRequest) encode(e *enc) {
	e.optText(ttlv.TagUniqueIdentifier, p.UniqueID)
	e.parameters(p.Parameters)
	e.optBytes(ttlv.TagData, p.Data)
	e.optBytes(ttlv.TagIVCounterNonce, p.IV)
	e.optBytes(ttlv.TagCorrelationValue, p.Correlation)
	e.optBool(ttlv.TagInitIndicator, p.First)
	e.optBool(ttlv.TagFinalIndicator, p.Last)
	e.optBytes(ttlv.TagAuthenticatedEncryptionAdditionalData, p.AdditionalData)
	e.optBytes(ttlv.TagAuthenticatedEncryptionTag, p.Tag)
}

func (p *DecryptRequest) decode(d *dec) {
	*p = DecryptRequest{
		UniqueID: d.optID(ttlv.TagUniqueIdentifier), Parameters: d.parameters(),
		Data: d.optBytes(ttlv.TagData), IV: d.optBytes(ttlv.TagIVCounterNonce),
		Correlation: d.optBytes(ttlv.TagCorrelationValue),
		First:       d.optBool(ttlv.TagInitIndicator), Last: d.optBool(ttlv.TagFinalIndicator),
		AdditionalData: d.optBytes(ttlv.TagAuthenticatedEncryptionAdditionalData),
		Tag:            d.optBytes(ttlv.TagAuthenticatedEncryptionTag),
	}
}

func (p *DecryptResponse) encode(e *enc) {
	e.TextString(ttlv.TagUniqueIdentifier, p.UniqueID)
	e.optBytes(ttlv.TagData, p.Data)
	e.optBytes(ttlv.TagCorrelationValue, p.Correlation)
}

func (p *DecryptResponse) decode(d *dec) {
	*p = DecryptResponse{
		d.id(ttlv.TagUniqueIdentifier), d.optBytes(ttlv.TagData), d.optBytes(ttlv.TagCorrelationValue),
	}
}
