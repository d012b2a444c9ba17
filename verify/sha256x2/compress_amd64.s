#include "textflag.h"

// The registers of both messages: the working variables as the instructions want
// them (A0 is F E B A from the lowest word up, A1 is H G D C), and the last 16 words
// of the schedule, four to a register.
#define A0 X1
#define A1 X2
#define AM0 X3
#define AM1 X4
#define AM2 X5
#define AM3 X6
#define B0 X7
#define B1 X8
#define BM0 X9
#define BM1 X10
#define BM2 X11
#define BM3 X12
#define TMP X13
#define TWO X14
#define SWAP X15

// LOAD reads four words of each block, which are big-endian.
#define LOAD(offset, a, b) \
	MOVOU  offset(SI), a; \
	PSHUFB SWAP, a;       \
	MOVOU  offset(DX), b; \
	PSHUFB SWAP, b

// ROUNDS does four rounds of each message. a and b are the words of the schedule,
// offset is where their constants lie.
#define ROUNDS(offset, a, b) \
	MOVOU       offset(AX), TMP; \
	MOVO        a, X0;           \
	PADDD       TMP, X0;         \
	PADDD       b, TMP;          \
	SHA256RNDS2 X0, A0, A1;      \
	PSHUFD      $0x0e, X0, TWO;  \
	MOVO        TMP, X0;         \
	SHA256RNDS2 X0, B0, B1;      \
	PSHUFD      $0x0e, TMP, TMP; \
	MOVO        TWO, X0;         \
	SHA256RNDS2 X0, A1, A0;      \
	MOVO        TMP, X0;         \
	SHA256RNDS2 X0, B1, B0

// BEGIN is the first half of the next words of the schedule, in the place of the
// oldest ones, END the second half: before are the words before the newest ones.
#define BEGIN(oldest, next) \
	SHA256MSG1 next, oldest

#define END(before, newest, words) \
	MOVO       newest, TMP;        \
	PALIGNR    $4, before, TMP;    \
	PADDD      TMP, words;         \
	SHA256MSG2 newest, words

// func compress(states *[2]state, a, b *byte, blocks int)
TEXT ·compress(SB), NOSPLIT, $0-32
	MOVQ  states+0(FP), DI
	MOVQ  a+8(FP), SI
	MOVQ  b+16(FP), DX
	MOVQ  blocks+24(FP), CX
	LEAQ  constants<>(SB), AX
	MOVOU swap<>(SB), SWAP
	MOVOU (DI), A0
	MOVOU 16(DI), A1
	MOVOU 32(DI), B0
	MOVOU 48(DI), B1

block:
	LOAD(0, AM0, BM0)
	ROUNDS(0, AM0, BM0)
	LOAD(16, AM1, BM1)
	ROUNDS(16, AM1, BM1)
	BEGIN(AM0, AM1)
	BEGIN(BM0, BM1)
	LOAD(32, AM2, BM2)
	ROUNDS(32, AM2, BM2)
	BEGIN(AM1, AM2)
	BEGIN(BM1, BM2)
	LOAD(48, AM3, BM3)
	ROUNDS(48, AM3, BM3)
	END(AM2, AM3, AM0)
	END(BM2, BM3, BM0)
	BEGIN(AM2, AM3)
	BEGIN(BM2, BM3)
	ROUNDS(64, AM0, BM0)
	END(AM3, AM0, AM1)
	END(BM3, BM0, BM1)
	BEGIN(AM3, AM0)
	BEGIN(BM3, BM0)
	ROUNDS(80, AM1, BM1)
	END(AM0, AM1, AM2)
	END(BM0, BM1, BM2)
	BEGIN(AM0, AM1)
	BEGIN(BM0, BM1)
	ROUNDS(96, AM2, BM2)
	END(AM1, AM2, AM3)
	END(BM1, BM2, BM3)
	BEGIN(AM1, AM2)
	BEGIN(BM1, BM2)
	ROUNDS(112, AM3, BM3)
	END(AM2, AM3, AM0)
	END(BM2, BM3, BM0)
	BEGIN(AM2, AM3)
	BEGIN(BM2, BM3)
	ROUNDS(128, AM0, BM0)
	END(AM3, AM0, AM1)
	END(BM3, BM0, BM1)
	BEGIN(AM3, AM0)
	BEGIN(BM3, BM0)
	ROUNDS(144, AM1, BM1)
	END(AM0, AM1, AM2)
	END(BM0, BM1, BM2)
	BEGIN(AM0, AM1)
	BEGIN(BM0, BM1)
	ROUNDS(160, AM2, BM2)
	END(AM1, AM2, AM3)
	END(BM1, BM2, BM3)
	BEGIN(AM1, AM2)
	BEGIN(BM1, BM2)
	ROUNDS(176, AM3, BM3)
	END(AM2, AM3, AM0)
	END(BM2, BM3, BM0)
	BEGIN(AM2, AM3)
	BEGIN(BM2, BM3)
	ROUNDS(192, AM0, BM0)
	END(AM3, AM0, AM1)
	END(BM3, BM0, BM1)
	BEGIN(AM3, AM0)
	BEGIN(BM3, BM0)
	ROUNDS(208, AM1, BM1)
	END(AM0, AM1, AM2)
	END(BM0, BM1, BM2)
	ROUNDS(224, AM2, BM2)
	END(AM1, AM2, AM3)
	END(BM1, BM2, BM3)
	ROUNDS(240, AM3, BM3)

	MOVOU (DI), TMP
	PADDD TMP, A0
	MOVOU A0, (DI)
	MOVOU 16(DI), TMP
	PADDD TMP, A1
	MOVOU A1, 16(DI)
	MOVOU 32(DI), TMP
	PADDD TMP, B0
	MOVOU B0, 32(DI)
	MOVOU 48(DI), TMP
	PADDD TMP, B1
	MOVOU B1, 48(DI)
	ADDQ  $64, SI
	ADDQ  $64, DX
	DECQ  CX
	JNZ   block
	RET

// func cpuid(leaf uint32) (b, c uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-16
	MOVL leaf+0(FP), AX
	XORL CX, CX
	CPUID
	MOVL BX, b+8(FP)
	MOVL CX, c+12(FP)
	RET

// The bytes of each word, reversed.
DATA swap<>+0(SB)/8, $0x0405060700010203
DATA swap<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL swap<>(SB), RODATA|NOPTR, $16

// The constants of the rounds (FIPS 180-4 §4.2.2).
DATA constants<>+0(SB)/4, $0x428a2f98
DATA constants<>+4(SB)/4, $0x71374491
DATA constants<>+8(SB)/4, $0xb5c0fbcf
DATA constants<>+12(SB)/4, $0xe9b5dba5
DATA constants<>+16(SB)/4, $0x3956c25b
DATA constants<>+20(SB)/4, $0x59f111f1
DATA constants<>+24(SB)/4, $0x923f82a4
DATA constants<>+28(SB)/4, $0xab1c5ed5
DATA constants<>+32(SB)/4, $0xd807aa98
DATA constants<>+36(SB)/4, $0x12835b01
DATA constants<>+40(SB)/4, $0x243185be
DATA constants<>+44(SB)/4, $0x550c7dc3
DATA constants<>+48(SB)/4, $0x72be5d74
DATA constants<>+52(SB)/4, $0x80deb1fe
DATA constants<>+56(SB)/4, $0x9bdc06a7
DATA constants<>+60(SB)/4, $0xc19bf174
DATA constants<>+64(SB)/4, $0xe49b69c1
DATA constants<>+68(SB)/4, $0xefbe4786
DATA constants<>+72(SB)/4, $0x0fc19dc6
DATA constants<>+76(SB)/4, $0x240ca1cc
DATA constants<>+80(SB)/4, $0x2de92c6f
DATA constants<>+84(SB)/4, $0x4a7484aa
DATA constants<>+88(SB)/4, $0x5cb0a9dc
DATA constants<>+92(SB)/4, $0x76f988da
DATA constants<>+96(SB)/4, $0x983e5152
DATA constants<>+100(SB)/4, $0xa831c66d
DATA constants<>+104(SB)/4, $0xb00327c8
DATA constants<>+108(SB)/4, $0xbf597fc7
DATA constants<>+112(SB)/4, $0xc6e00bf3
DATA constants<>+116(SB)/4, $0xd5a79147
DATA constants<>+120(SB)/4, $0x06ca6351
DATA constants<>+124(SB)/4, $0x14292967
DATA constants<>+128(SB)/4, $0x27b70a85
DATA constants<>+132(SB)/4, $0x2e1b2138
DATA constants<>+136(SB)/4, $0x4d2c6dfc
DATA constants<>+140(SB)/4, $0x53380d13
DATA constants<>+144(SB)/4, $0x650a7354
DATA constants<>+148(SB)/4, $0x766a0abb
DATA constants<>+152(SB)/4, $0x81c2c92e
DATA constants<>+156(SB)/4, $0x92722c85
DATA constants<>+160(SB)/4, $0xa2bfe8a1
DATA constants<>+164(SB)/4, $0xa81a664b
DATA constants<>+168(SB)/4, $0xc24b8b70
DATA constants<>+172(SB)/4, $0xc76c51a3
DATA constants<>+176(SB)/4, $0xd192e819
DATA constants<>+180(SB)/4, $0xd6990624
DATA constants<>+184(SB)/4, $0xf40e3585
DATA constants<>+188(SB)/4, $0x106aa070
DATA constants<>+192(SB)/4, $0x19a4c116
DATA constants<>+196(SB)/4, $0x1e376c08
DATA constants<>+200(SB)/4, $0x2748774c
DATA constants<>+204(SB)/4, $0x34b0bcb5
DATA constants<>+208(SB)/4, $0x391c0cb3
DATA constants<>+212(SB)/4, $0x4ed8aa4a
DATA constants<>+216(SB)/4, $0x5b9cca4f
DATA constants<>+220(SB)/4, $0x682e6ff3
DATA constants<>+224(SB)/4, $0x748f82ee
DATA constants<>+228(SB)/4, $0x78a5636f
DATA constants<>+232(SB)/4, $0x84c87814
DATA constants<>+236(SB)/4, $0x8cc70208
DATA constants<>+240(SB)/4, $0x90befffa
DATA constants<>+244(SB)/4, $0xa4506ceb
DATA constants<>+248(SB)/4, $0xbef9a3f7
DATA constants<>+252(SB)/4, $0xc67178f2
GLOBL constants<>(SB), RODATA|NOPTR, $256
