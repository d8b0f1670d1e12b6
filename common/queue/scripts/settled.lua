--! part
-- What became of a token, so that a call whose reply was lost can be repeated. A token is a prefix and a sequence. Of the
-- finished ones a field "PREFIX/BLOCK" has a bit for each of 32 sequences, since those of a batch follow each other; of
-- one that failed a field of its own has the outcome. Two generations of about 8,192 fields (about 1 MB each): when the
-- young one is full it replaces the old one. So at least the last 8,192 outcomes of the fleet are known; who asks later
-- than that is told that the lease is no longer his, which is true and changes nothing in the books.
-- The script defines `settled` and `settled_old` first.
local BLOCK = 32

-- The field of a sequence, and its bit there as a power of two. The last field is kept, as making it is half of the work.
local last_prefix, last_block, last_field
local function field_of(token_prefix, sequence)
    local bit = sequence % BLOCK
    local block = sequence - bit
    if block ~= last_block or token_prefix ~= last_prefix then
        last_prefix, last_block = token_prefix, block
        last_field = string.format('%s/%d', token_prefix, block / BLOCK)
    end
    return last_field, 2 ^ bit
end

-- Lua 5.1 has no operators for bits.
local function has(bits, bit)
    return math.floor(bits / bit) % 2 == 1
end

local function is_done_in(generation, field, bit)
    return has(tonumber(redis.call('HGET', generation, field) or 0), bit)
end

-- 'done', another outcome, or nil or false for a token that nothing is known of. Takes the sequence as the token has it.
local function settled_as(token_prefix, sequence)
    local number = tonumber(sequence)
    if not number then return nil end -- nobody was given such a token
    local field, bit = field_of(token_prefix, number)
    if is_done_in(settled, field, bit) or is_done_in(settled_old, field, bit) then return 'done' end
    local token = token_prefix .. sequence
    return redis.call('HGET', settled, token) or redis.call('HGET', settled_old, token)
end

-- Takes fields and values in turn.
local function settle(outcomes)
    if redis.call('HSET', settled, unpack(outcomes)) > 0 and redis.call('HLEN', settled) >= 8192 then
        redis.call('UNLINK', settled_old) -- freed in the background; RENAME would take a millisecond
        redis.call('RENAME', settled, settled_old)
    end
end
