-- Pauses a tenant, or lets it go on: its lists leave the fair share, or come back to it where they left.
-- KEYS: the queue's nine. ARGV: prefix, tenant, 1 or 0. Returns 1.
--! include place.lua
local tenant, pausing = ARGV[2], ARGV[3] == '1'
call(pausing and 'SADD' or 'SREM', paused_tenants, tenant)
for class, key in pairs(active) do
    local v = pausing and call('ZSCORE', key, tenant)
    if v then
        call('ZREM', key, tenant)
        if call('EXISTS', key) == 1 then
            call('HSET', vtime[class], tenant, v)
        else
            call('DEL', vtime[class])
        end
    elseif not pausing and call('EXISTS', prefix .. 'wait:' .. class .. ':' .. tenant) == 1 then
        activate(class, tenant)
    end
end
return 1
