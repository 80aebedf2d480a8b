package kmip

import "allclear/kmip/ttlv"

// CryptographicParameters tells how a key is used (KMIP 2.1 section 4.16). What is zero or nil is left to the server.
type CryptographicParameters struct {
	BlockCipherMode               BlockCipherMode
	PaddingMethod                 PaddingMethod
	HashingAlgorithm              HashingAlgorithm
	KeyRoleType                   KeyRoleType
	DigitalSignatureAlgorithm     DigitalSignatureAlgorithm
	CryptographicAlgorithm        CryptographicAlgorithm
	RandomIV                      *bool
	IVLength                      *int32 // bits
	TagLength                     *int32 // bytes
	FixedFieldLength              *int32 // bits
	InvocationFieldLength         *int32 // bits
	CounterLength                 *int32 // bits
	InitialCounterValue           *int32
	SaltLength                    *int32 // bytes
	MaskGenerator                 MaskGenerator
	MaskGeneratorHashingAlgorithm HashingAlgorithm
	PSource                       []byte
	TrailerField                  *int32
}

func (e *enc) parameters(p *CryptographicParameters) {
	if p == nil {
		return
	}
	m := e.Begin(ttlv.TagCryptographicParameters)
	optEnum(e, ttlv.TagBlockCipherMode, p.BlockCipherMode)
	optEnum(e, ttlv.TagPaddingMethod, p.PaddingMethod)
	optEnum(e, ttlv.TagHashingAlgorithm, p.HashingAlgorithm)
	optEnum(e, ttlv.TagKeyRoleType, p.KeyRoleType)
	optEnum(e, ttlv.TagDigitalSignatureAlgorithm, p.DigitalSignatureAlgorithm)
	optEnum(e, ttlv.TagCryptographicAlgorithm, p.CryptographicAlgorithm)
	e.optBool(ttlv.TagRandomIV, p.RandomIV)
	e.optInt(ttlv.TagIVLength, p.IVLength)
	e.optInt(ttlv.TagTagLength, p.TagLength)
	e.optInt(ttlv.TagFixedFieldLength, p.FixedFieldLength)
	e.optInt(ttlv.TagInvocationFieldLength, p.InvocationFieldLength)
	e.optInt(ttlv.TagCounterLength, p.CounterLength)
	e.optInt(ttlv.TagInitialCounterValue, p.InitialCounterValue)
	e.optInt(ttlv.TagSaltLength, p.SaltLength)
	optEnum(e, ttlv.TagMaskGenerator, p.MaskGenerator)
	optEnum(e, ttlv.TagMaskGeneratorHashingAlgorithm, p.MaskGeneratorHashingAlgorithm)
	e.optBytes(ttlv.TagPSource, p.PSource)
	e.optInt(ttlv.TagTrailerField, p.TrailerField)
	e.End(m)
}

func (d *dec) parameters() *CryptographicParameters {
	if !d.Is(ttlv.TagCryptographicParameters) {
		return nil
	}
	d.Enter(ttlv.TagCryptographicParameters)
	p := &CryptographicParameters{
		BlockCipherMode:               optionalEnum[BlockCipherMode](d, ttlv.TagBlockCipherMode),
		PaddingMethod:                 optionalEnum[PaddingMethod](d, ttlv.TagPaddingMethod),
		HashingAlgorithm:              optionalEnum[HashingAlgorithm](d, ttlv.TagHashingAlgorithm),
		KeyRoleType:                   optionalEnum[KeyRoleType](d, ttlv.TagKeyRoleType),
		DigitalSignatureAlgorithm:     optionalEnum[DigitalSignatureAlgorithm](d, ttlv.TagDigitalSignatureAlgorithm),
		CryptographicAlgorithm:        optionalEnum[CryptographicAlgorithm](d, ttlv.TagCryptographicAlgorithm),
		RandomIV:                      d.optBool(ttlv.TagRandomIV),
		IVLength:                      d.optInt(ttlv.TagIVLength),
		TagLength:                     d.optInt(ttlv.TagTagLength),
		FixedFieldLength:              d.optInt(ttlv.TagFixedFieldLength),
		InvocationFieldLength:         d.optInt(ttlv.TagInvocationFieldLength),
		CounterLength:                 d.optInt(ttlv.TagCounterLength),
		InitialCounterValue:           d.optInt(ttlv.TagInitialCounterValue),
		SaltLength:                    d.optInt(ttlv.TagSaltLength),
		MaskGenerator:                 optionalEnum[MaskGenerator](d, ttlv.TagMaskGenerator),
		MaskGeneratorHashingAlgorithm: optionalEnum[HashingAlgorithm](d, ttlv.TagMaskGeneratorHashingAlgorithm),
		PSource:                       d.optBytes(ttlv.TagPSource),
		TrailerField:                  d.optInt(ttlv.TagTrailerField),
	}
	d.Leave()
	return p
}
