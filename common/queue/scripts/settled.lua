--! part
-- What became of a token, so that a call whose reply was lost can be repeated. Two generations of
-- at most 8,192 tokens (about 1 MB each): when the young one is full it replaces the old one. So
-- at least the last 8,192 outcomes of the fleet are known; who asks later than that is told that
-- the lease is no longer his, which is true and changes nothing in the books.
-- The script defines `settled` and `settled_old` first.
local function settled_as(token)
    return redis.call('HGET', settled, token) or redis.call('HGET', settled_old, token)
end

-- Takes tokens and outcomes in turn.
local function settle(outcomes)
    redis.call('HSET', settled, unpack(outcomes))
    if redis.call('HLEN', settled) >= 8192 then
        redis.call('UNLINK', settled_old) -- freed in the background; RENAME would take a millisecond
        redis.call('RENAME', settled, settled_old)
    end
end
